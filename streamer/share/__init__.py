"""The compiled SHARE model: its labels, its file, and how it is run with numpy and onnxruntime.

SHARE: Zhang et al., "Unleashing the Power of Shared Label Structures for Human Activity
Recognition", CIKM 2023, arXiv 2301.03462.
"""
