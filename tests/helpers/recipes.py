"""Recipes that overlays are for."""

BASES = {
    "trainer/": "joint/demo",
    "ablation/ssm_": "joint/ssm_rendered",
    "ablation/micro_": "micro/microauclip_rendered",
    "ablation/micro_vit_b32": "micro/casme2_microauclip",
    "ablation/auttt_": "au/auttt_rendered",
    "ablation/muldml_": "expression/muldml_rendered",
    "ablation/aullm_": "micro/aullm_rendered",
    "ablation/emocap_": "caption/emocap_rendered",
    "ablation/feallm_": "language/feallm_rendered",
    "ablation/fgsgl_": "micro/fgsgl_rendered",
    "ablation/engagement_": "engagement/rendered",
    "baseline/micro_": "micro/microauclip_rendered",
    "baseline/engagement_": "engagement/engagenet_signals",
    "micro/microauclip_rehearsal": "micro/casme2_microauclip",
    "joint/affwild2_rehearsal": "joint/affwild2_mtl",
}


def base_of(name):
    """Options that name the recipe under an overlay; none for a recipe. The longest beginning of the name counts."""
    starts = sorted((start for start in BASES if name.startswith(start)), key=len)
    return ["--config", BASES[starts[-1]]] if starts else []
