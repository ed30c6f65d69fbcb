"""In which forms of `execution` a column can run the classifier's training loop here."""

from functools import cache

from triptych.source import differences

FORMS = ("as_written", "compiled_network", "compiled_step", "compiled_loop", "cuda_graph")
NO_CUDA = "a CUDA graph needs a CUDA device"
NO_COMPILER = "torch.compile needs a C++ compiler on a CPU: install g++ or clang++, or set CXX"


def missing_form(column: str, form: str, device: str = "cpu") -> str:
    """Why a column cannot run its training loop in a form; "" if it can.

    Args:
        column: its package.
        form: one of FORMS.
        device: where the arrays are.
    """
    if why := differences.absent(column, "execution", form):
        return why
    if form == "cuda_graph":
        return "" if device == "cuda" else NO_CUDA
    if column == "torch_impl" and form != "as_written" and device == "cpu":
        return no_cpp_compiler()
    return ""


@cache
def no_cpp_compiler() -> str:
    """Why `torch.compile` cannot make code for the CPU; "" if it can.

    PyTorch tells it by an exception, seconds into the first call; no public function says so.
    """
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return NO_COMPILER
    return ""
