"""Face detection, meshes, tracking, alignment and crops."""

from __future__ import annotations

from affectkit.faces.align import (
    MARGINS,
    FacePicture,
    PictureSpec,
    align_face,
    box_transform,
    face_transform,
    margin_of,
    picture_transform,
)
from affectkit.faces.crop import Crop
from affectkit.faces.cropper import Cropper
from affectkit.faces.detect import CenterFace
from affectkit.faces.face import Face, FaceDetector, detector_name, find_faces, largest_face
from affectkit.faces.frames import FrameFaces, SeenFace, frame_faces
from affectkit.faces.geometry import (
    align_frames,
    estimate_similarity,
    five_points,
    reference_points,
    transform_points,
)
from affectkit.faces.mesh import BLENDSHAPES, SIGNALS, FaceMesh
from affectkit.faces.mesh_detector import MeshDetector
from affectkit.faces.mesh_tracker import MeshTracker
from affectkit.faces.mirror import mirror_blendshapes, mirror_mesh, mirror_pose
from affectkit.faces.one_crop import face_landmarks, place_face, read_clip
from affectkit.faces.pose import (
    LANDMARKS_68,
    Camera,
    Gaze,
    HeadPose,
    estimate_gaze,
    estimate_pose,
    head_points,
)
from affectkit.faces.signals import SIGNALS_VERSION, measure_signals
from affectkit.faces.track import FaceTracker

__all__ = [
    "BLENDSHAPES",
    "LANDMARKS_68",
    "MARGINS",
    "SIGNALS",
    "SIGNALS_VERSION",
    "Camera",
    "CenterFace",
    "Crop",
    "Cropper",
    "Face",
    "FaceDetector",
    "FaceMesh",
    "FacePicture",
    "FaceTracker",
    "FrameFaces",
    "Gaze",
    "HeadPose",
    "MeshDetector",
    "MeshTracker",
    "PictureSpec",
    "SeenFace",
    "align_face",
    "align_frames",
    "box_transform",
    "detector_name",
    "estimate_gaze",
    "estimate_pose",
    "estimate_similarity",
    "face_landmarks",
    "face_transform",
    "find_faces",
    "five_points",
    "frame_faces",
    "head_points",
    "largest_face",
    "margin_of",
    "measure_signals",
    "mirror_blendshapes",
    "mirror_mesh",
    "mirror_pose",
    "picture_transform",
    "place_face",
    "read_clip",
    "reference_points",
    "transform_points",
]
