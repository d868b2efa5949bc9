"""Put a pretrained action-unit head on a network from another library; train only the adapter and the head."""

import torch
from torchvision.models import squeezenet1_1

from affectkit import AUHead

head = AUHead.from_pretrained("demo")  # or a folder of `affectkit model export`, or "owner/name" on the Hub
backbone = squeezenet1_1(weights=None).features.eval()  # any network that embeds images
adapter = torch.nn.Linear(512, head.in_features)


def logits(pictures: torch.Tensor) -> torch.Tensor:
    """Return logits [N, units] for images [N, 3, H, W] in 0-1."""
    with torch.no_grad():
        vectors = backbone(pictures).mean(dim=(2, 3))
    return head(adapter(vectors))


pictures, truth = torch.rand(8, 3, 64, 64), torch.randint(0, 2, (8, len(head.labels))).float()
optimizer = torch.optim.AdamW([*adapter.parameters(), *head.parameters()], lr=1e-3)
for _ in range(5):
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits(pictures), truth)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
answer = head.predict(logits(pictures))[0].tolist()
print({unit: round(p, 2) for unit, p in zip(head.labels, answer, strict=True)})
