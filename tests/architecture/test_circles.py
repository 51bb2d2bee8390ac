"""No module imports itself by way of others: at module load, inside a function, or for annotations
alone.

The contract `acyclic_siblings` checks packages, and the modules of one package. This test also
checks a package's own `__init__`, and cycles through two packages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import grimp


def circles(imports: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Return the groups of modules that all import each other, directly or through other modules of
    the group (Tarjan's algorithm)."""
    found: list[list[str]] = []
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    open_: list[str] = []

    def visit(root: str) -> None:
        stack = [(root, iter(imports[root]))]
        order[root] = lowest[root] = len(order)
        open_.append(root)
        while stack:
            module, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                stack.pop()
                if stack:
                    lowest[stack[-1][0]] = min(lowest[stack[-1][0]], lowest[module])
                if lowest[module] == order[module]:
                    at = open_.index(module)
                    group = sorted(open_[at:])
                    del open_[at:]
                    if len(group) > 1 or module in imports[module]:
                        found.append(group)
            elif following not in order:
                order[following] = lowest[following] = len(order)
                open_.append(following)
                stack.append((following, iter(imports[following])))
            elif following in open_:
                lowest[module] = min(lowest[module], order[following])

    for module in imports:
        if module not in order:
            visit(module)
    return found


def test_a_circle_is_found_however_long_it_is() -> None:
    imports = {"a": ["b", "e"], "b": ["c"], "c": ["d", "b"], "d": ["b"], "e": ["c"], "f": ["f"]}
    assert circles(imports) == [["b", "c", "d"], ["f"]]
    assert circles({"a": ["b", "c"], "b": ["c"], "c": []}) == []


def test_imports_in_functions_and_for_annotations_count() -> None:
    graph = grimp.build_graph("titan", exclude_type_checking_imports=False, cache_dir=None)
    assert "titan.sdk.additions" in graph.find_modules_directly_imported_by("titan.context"), "in a function"
    assert "titan.sdk.store" in graph.find_modules_directly_imported_by("titan.context"), "for annotations"


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = grimp.build_graph("titan", exclude_type_checking_imports=False, cache_dir=None)
    imports = {module: sorted(graph.find_modules_directly_imported_by(module)) for module in sorted(graph.modules)}
    assert len(imports) > 400
    told = [
        "\n".join(
            f"{detail['importer']}:{detail['line_number']}: {detail['line_contents']}"
            for module in circle
            for imported in imports[module]
            if imported in circle
            for detail in graph.get_import_details(importer=module, imported=imported)
        )
        for circle in circles(imports)
    ]
    assert not told, "circles of imports:\n\n" + "\n\n".join(told)
