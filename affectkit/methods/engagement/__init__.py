"""TCCT-Net, and training with doubtful labels."""
from affectkit.methods.engagement.tcct import TCCTBackbone, TCCTHead
from affectkit.methods.engagement.wavelets import MorletMagnitude
