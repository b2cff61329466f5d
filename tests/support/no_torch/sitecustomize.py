"""On PYTHONPATH, makes an interpreter one of a machine where none of the extra `models` and `export` is installed."""

from importlib.machinery import PathFinder

ABSENT = {"torch", "torchvision", "timm", "safetensors", "huggingface_hub", "onnx", "onnxscript", "sympy"}


def find_spec(name, path=None, target=None, *, find=PathFinder.find_spec):
    return None if name.partition(".")[0] in ABSENT else find(name, path, target)


PathFinder.find_spec = staticmethod(find_spec)
