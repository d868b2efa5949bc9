"""Face meshes that follow several people from frame to frame."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from affectkit.errors import ConfigError
from affectkit.faces.detect import overlaps, suppress_overlaps
from affectkit.faces.face import Face
from affectkit.faces.mesh import FaceMesh
from affectkit.faces.mesh_detector import MeshDetector, Region, region_of_mesh
from affectkit.faces.track import FaceTracker, valid_rate

__all__ = ["MeshTracker"]

# Intersections over union from which two regions, or two boxes, belong to one face.
_SAME_REGION: Final = 0.3
_SAME_FACE: Final = 0.5


class MeshTracker:
    """Follows the meshes of all faces through a video, with identities that stay.

    Each face's mesh is read in the region around its last mesh. The detector runs where a face was lost, in the first
    frame of a scene, and every `interval` frames, when somebody new may have come. All faces of a frame go through
    the networks together. Nothing is smoothed over time. `FaceTracker` assigns the identities, so a person who was
    hidden for a short while gets the same one back.

    Args:
        detector: Finds faces and reads meshes; `MeshDetector()` by default.
        interval: Frames from one detection to the next.
        identities: Assigns the identities; `FaceTracker()` by default.

    Raises:
        ConfigError: The interval is less than 1.

    Example:
        >>> MeshTracker().update(torch.zeros(3, 48, 64, dtype=torch.uint8))
        {}
    """

    def __init__(
        self,
        detector: MeshDetector | None = None,
        *,
        interval: int = 5,
        identities: FaceTracker | None = None,
    ) -> None:
        if interval < 1:
            raise ConfigError(
                f"The detection interval is {interval} frames.", remedy="Give an interval of 1 frame or more."
            )
        self.detector = detector or MeshDetector()
        self.interval = interval
        self.identities = identities or FaceTracker()
        self._meshes: list[FaceMesh] = []
        self._since = 0

    @classmethod
    def for_video(cls, fps: float, detector: MeshDetector | None = None) -> MeshTracker:
        """Make a tracker that detects faces five times a second and has the identities of `FaceTracker.for_video`.

        Args:
            fps: Frames a second; NaN where unknown.
            detector: Finds faces and reads meshes; `MeshDetector()` by default.
        """
        interval = max(1, round(valid_rate(fps) / 5))
        return cls(detector, interval=interval, identities=FaceTracker.for_video(fps))

    def update(self, frame: Tensor | None) -> dict[int, Face]:
        """Find the faces of the next frame.

        Args:
            frame: uint8 [3, H, W], RGB; None for a frame that cannot be read.

        Returns:
            Faces with a `mesh` by identity, in ascending order.
        """
        self._since += 1
        if frame is None:
            self.identities.update([])
            return {}
        is_cut = self.identities.is_cut(frame)
        known = [] if is_cut else [region_of_mesh(mesh.points) for mesh in self._meshes]
        meshes = self._present(self.detector.fit([frame] * len(known), known))
        is_detecting = len(meshes) < len(known) or not meshes or self._since >= self.interval
        if is_detecting:
            followed = _squares([region_of_mesh(mesh.points) for mesh in meshes])
            found = self.detector.detect(frame[None])[0]
            is_new = (overlaps(_squares(found), followed) <= _SAME_REGION).all(1)
            new = [found[k] for k in is_new.nonzero()[:, 0].tolist()]
            meshes += self._present(self.detector.read([frame] * len(new), new))
            self._since = 0
        # Two regions may have moved to one face, which keeps the one that was followed longer.
        boxes = torch.tensor([mesh.box for mesh in meshes]).reshape(-1, 4)
        kept = suppress_overlaps(boxes, -torch.arange(float(len(meshes))), _SAME_FACE)
        self._meshes = [meshes[k] for k in kept]
        faces = [mesh.face() for mesh in self._meshes]
        # Faces that were only followed keep their identities by place, which is faster than comparing their looks.
        identities = self.identities.update(faces, frame if is_detecting else None, is_cut=is_cut)
        return dict(sorted(zip(identities, faces, strict=True), key=lambda pair: pair[0]))

    def _present(self, meshes: list[FaceMesh]) -> list[FaceMesh]:
        """Those of which the network is certain enough."""
        return [mesh for mesh in meshes if mesh.presence >= self.detector.presence]


def _squares(regions: list[Region]) -> Tensor:
    """Boxes of regions, as if they were not turned: float [N, 4], left, top, width and height."""
    boxes = [
        (region.x - region.side / 2, region.y - region.side / 2, region.side, region.side)
        for region in regions
    ]
    return torch.tensor(boxes).reshape(-1, 4)
