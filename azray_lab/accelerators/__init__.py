"""GPUs and other accelerators: what is in a machine, what vendors and Ray call it, and what Ray is told of it.

found = detect()                 # this machine; detect(Host(root=..., nvml=...)) another, or a captured one
found.devices                    # tuple[Device, ...]
found.reasons                    # why there is none, or fewer or less than one would think
"""

from azray_lab.accelerators.detect import detect
from azray_lab.accelerators.devices import Detection, Device, Process, Reason
from azray_lab.accelerators.host import Host

__all__ = ["Detection", "Device", "Host", "Process", "Reason", "detect"]
