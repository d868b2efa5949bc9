"""Domain knowledge: action units, expressions, other labels and published rules. Standard library only."""

from __future__ import annotations

from affectkit.facs.captions import CAPTION_REGIONS, describe_expression, write_captions
from affectkit.facs.coding import CodedUnit, Coding, parse_coding
from affectkit.facs.expressions import (
    CROSSWALKS,
    EXPRESSION_SETS,
    ExpressionSet,
    canonical_expression,
    crosswalk,
)
from affectkit.facs.priors import PRIORS, association, typical_units
from affectkit.facs.process import (
    PROCESS_PARTS,
    Process,
    class_processes,
    expression_process,
    gesture_processes,
    read_processes,
    unit_process,
)
from affectkit.facs.prompts import (
    PROMPT_STYLES,
    PROMPT_TEMPLATES,
    au_name,
    au_prompt_pair,
    class_name,
    prompt_ensemble,
    prompt_text,
    prompt_texts,
    unit_texts,
)
from affectkit.facs.regions import FLIP_68, REGIONS, Centre, RegionTable, region_centres
from affectkit.facs.relations import UnitRelations, unit_relations
from affectkit.facs.rules import DU_2014, EMFACS, OBJECTIVE_CLASSES, Category, objective_class, prior, pspi
from affectkit.facs.scales import VALENCE_AROUSAL, Dimensions, Levels
from affectkit.facs.sets import AU_SETS, AUIntensitySet, AUSet, UnitSpace
from affectkit.facs.sides import mirror_text
from affectkit.facs.spaces import LabelSpace, label_space, register_space
from affectkit.facs.units import ACTION_UNITS, ActionUnit, UnitFacts

__all__ = [
    "ACTION_UNITS",
    "AU_SETS",
    "CAPTION_REGIONS",
    "CROSSWALKS",
    "DU_2014",
    "EMFACS",
    "EXPRESSION_SETS",
    "FLIP_68",
    "OBJECTIVE_CLASSES",
    "PRIORS",
    "PROCESS_PARTS",
    "PROMPT_STYLES",
    "PROMPT_TEMPLATES",
    "REGIONS",
    "VALENCE_AROUSAL",
    "AUIntensitySet",
    "AUSet",
    "ActionUnit",
    "Category",
    "Centre",
    "CodedUnit",
    "Coding",
    "Dimensions",
    "ExpressionSet",
    "LabelSpace",
    "Levels",
    "Process",
    "RegionTable",
    "UnitFacts",
    "UnitRelations",
    "UnitSpace",
    "association",
    "au_name",
    "au_prompt_pair",
    "canonical_expression",
    "class_name",
    "class_processes",
    "crosswalk",
    "describe_expression",
    "expression_process",
    "gesture_processes",
    "label_space",
    "mirror_text",
    "objective_class",
    "parse_coding",
    "prior",
    "prompt_ensemble",
    "prompt_text",
    "prompt_texts",
    "pspi",
    "read_processes",
    "region_centres",
    "register_space",
    "typical_units",
    "unit_process",
    "unit_relations",
    "unit_texts",
    "write_captions",
]
