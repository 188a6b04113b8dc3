"""Compiled kernels: each calls none of another file, which numba's disk cache would not notice to have changed."""

import ast
import importlib
import pkgutil
from pathlib import Path

import midas_ray

ROOT = Path(midas_ray.__file__).parent


def kernel_modules() -> dict[str, ast.Module]:
    """Every module of the package with a function that numba compiles."""
    found = {}
    for each in pkgutil.walk_packages([str(ROOT)], "midas_ray."):
        path = ROOT.parent / (each.name.replace(".", "/") + ".py")
        if path.is_file() and ("njit" in (text := path.read_text()) or "intrinsic" in text):
            found[each.name] = ast.parse(text)
    return found


def decorators(function: ast.FunctionDef) -> list[str]:
    calls = [each.func if isinstance(each, ast.Call) else each for each in function.decorator_list]
    return [each.id for each in calls if isinstance(each, ast.Name)]


def kernels(module: ast.Module) -> list[ast.FunctionDef]:
    return [each for each in ast.walk(module) if isinstance(each, ast.FunctionDef) and "njit" in decorators(each)]


def test_each_kernel_calls_those_of_its_own_file_only() -> None:
    modules = kernel_modules()
    checked = 0
    for name, tree in modules.items():
        module = importlib.import_module(name)
        for function in kernels(tree):
            for node in ast.walk(function):
                value = getattr(module, node.id, None) if isinstance(node, ast.Name) else None
                if hasattr(value, "py_func"):
                    assert value.py_func.__module__ == name, f"{name}.{function.name} calls a kernel of another file"
                    checked += 1
    assert checked > 20


def test_the_kernels_of_a_part_stand_in_one_file() -> None:
    """As DESIGN has it: one file of kernels for the book, one for the features."""
    homes = {name for name, tree in kernel_modules().items() if kernels(tree)}
    parts = [name.split(".")[1] for name in homes]
    assert {"midas_ray.book.kernels", "midas_ray.features.kernels"} <= homes
    assert parts.count("book") == parts.count("features") == 1


def test_no_kernel_may_reorder_sums() -> None:
    """`fastmath` and `parallel` make results depend on the machine and on how an array is cut."""
    for name, tree in kernel_modules().items():
        for function in kernels(tree):
            for call in function.decorator_list:
                for keyword in call.keywords if isinstance(call, ast.Call) else []:
                    assert keyword.arg not in ("fastmath", "parallel"), f"{name}.{function.name}: {keyword.arg}"
