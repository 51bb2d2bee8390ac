"""Conditions of jobs: the expressions of `if`.

    train.result.accuracy > 0.9 and prepare.state == COMPLETED

- `JOB.state` is COMPLETED, DEAD, CANCELLED or SKIPPED; FAILED is another word for DEAD.
- `JOB.result` is the value that the job set by `context.result`. `JOB.result.KEY` is a value in it;
  the key of a list is an index from 0. An id that reads like more than an id is quoted, as in
  `'a.result'.state`.
- Texts in quotes, numbers, true, false, null.
- `==` and `!=`; `<`, `<=`, `>` and `>=` of two numbers or two texts.
- `and`, `or`, `not` and parentheses.

Owns the syntax and the meaning. It reads jobs only through a function of the caller. Nothing is
executed: the expression is parsed into nodes and these are evaluated.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from titan.errors import InvalidGraph
from titan.model.dag import ALWAYS, SERVICE, JobTemplate
from titan.model.names import match_name
from titan.model.states import JobState
from titan.model.values import JSON, JSON_AT

MAX_CONDITION: Final = 2000
"""Maximum number of characters of a condition."""
MAX_DEPTH: Final = 32
"""Maximum depth of parentheses and `not` in a condition."""
MAX_SHOWN: Final = 60
"""Characters of a value in a reason."""
STATES: Final = ("COMPLETED", "DEAD", "CANCELLED", "SKIPPED")
_WORDS: Final = {"true": True, "false": False, "null": None}
_LITERALS: Final = {**_WORDS, **{state: state for state in STATES}, "FAILED": "DEAD"}
_ORDERS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TOKEN: Final = re.compile(
    r"""\s*(?:
    (?P<param>\$\{params\.[^{}]*\})
  | (?P<sign>==|!=|<=|>=|<|>|\(|\))
  | (?P<number>-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.:@+\[-]))
  | (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
  | (?P<word>(?:[A-Za-z0-9_.:@+-]|\[[^\]\s'"]*\])+)
  )""",
    re.VERBOSE,
)


class BadCondition(ValueError):
    """A condition that cannot be parsed or evaluated. The text is the problem, after a colon."""


class Reference(NamedTuple):
    """A value of another job: its state if `keys` is None, else a part of its result."""

    job: str
    keys: tuple[str, ...] | None

    def __str__(self) -> str:
        if self.keys is None:
            return f"{self.job}.state"
        return ".".join((self.job, "result", *self.keys))


class Literal(NamedTuple):
    value: object


class Operation(NamedTuple):
    """`name` is and, or, not, or a comparison."""

    name: str
    operands: tuple[Node, ...]


Node = Reference | Literal | Operation


class Token(NamedTuple):
    kind: str
    text: str
    begin: int
    end: int


class Condition(NamedTuple):
    node: Node
    references: tuple[Reference, ...]

    @property
    def jobs(self) -> tuple[str, ...]:
        """Return the jobs that the condition names, in order."""
        return tuple(dict.fromkeys(reference.job for reference in self.references))

    @property
    def jobs_by_state(self) -> frozenset[str]:
        """Return the jobs whose state the condition reads."""
        return frozenset(reference.job for reference in self.references if reference.keys is None)


# -- syntax ----------------------------------------------------------------------------------------
@lru_cache(maxsize=1024)
def parse(text: str) -> Condition:
    """Return a condition. Raises BadCondition.

    >>> parse("train[lr=0.1].result.accuracy > 0.9 and not a-b.state == FAILED").jobs
    ('train[lr=0.1]', 'a-b')
    """
    parser = _Parser(text, tokens_of(text))
    node = parser.whole()
    return Condition(node, tuple(dict.fromkeys(parser.references)))


def tokens_of(text: str) -> list[Token]:
    """Return the tokens of a condition. Raises BadCondition."""
    if len(text) > MAX_CONDITION:
        raise BadCondition(f"has {len(text):,} characters; the limit is {MAX_CONDITION:,}: let a job decide and read its result")
    if not text.strip():
        raise BadCondition("is empty: write an expression such as JOB.state == COMPLETED, or leave it out")
    tokens, at = [], 0
    end = len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None:
            raise BadCondition(_unreadable(text[at:].lstrip()))
        kind = found.lastgroup or ""
        tokens.append(Token(kind, found[kind], found.start(kind), found.end()))
        at = found.end()
    return tokens


def _unreadable(rest: str) -> str:
    if rest[0] in "'\"":
        return f"the text {rest[:40]!r} has no closing quote"
    if rest.startswith("${"):
        return f"{rest[:40]!r}: only ${{params.NAME}} is replaced here: write JOB.result.KEY for the result of a job"
    if rest[0] == "=":
        return f"{rest[:40]!r}: write == to compare; an id with = outside of [ ] is quoted, as in 'x=1'.state"
    return f"{rest[:40]!r} cannot be read: use JOB.state, JOB.result.KEY, texts in quotes, numbers, and, or, not, == != < <= > >="


def _superfluous(token: Token) -> str:
    if token.text == ")":
        return "')' closes no parenthesis"
    if token.kind == "sign" and token.text != "(":
        return f"{token.text!r}: compare two values at a time, and join comparisons by and"
    return f"{token.text[:40]!r} is not expected there: join conditions by and or or"


class _Parser:
    def __init__(self, text: str, tokens: Sequence[Token]) -> None:
        self._text = text
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self.references: list[Reference] = []

    def whole(self) -> Node:
        node = self._any_of()
        if self._at < len(self._tokens):
            raise BadCondition(_superfluous(self._tokens[self._at]))
        return _truth(node)

    def _any_of(self) -> Node:
        return self._joined("or", self._all_of)

    def _all_of(self) -> Node:
        return self._joined("and", self._negated)

    def _joined(self, word: str, inner: Callable[[], Node]) -> Node:
        operands = [inner()]
        while self._takes("word", word):
            operands.append(inner())
        return operands[0] if len(operands) == 1 else Operation(word, tuple([_truth(operand) for operand in operands]))

    def _negated(self) -> Node:
        if not self._takes("word", "not"):
            return self._comparison()
        self._deeper()
        node = Operation("not", (_truth(self._negated()),))
        self._depth -= 1
        return node

    def _comparison(self) -> Node:
        left = self._operand()
        token = self._next()
        if token is None or token.kind != "sign" or token.text in "()":
            return left
        self._at += 1
        return _compared(token.text, left, self._operand())

    def _operand(self) -> Node:
        token = self._next()
        if token is None:
            raise BadCondition("ends too early: a value is missing")
        self._at += 1
        match token.kind:
            case "number":
                return Literal(float(token.text) if re.search(r"[.eE]", token.text) else int(token.text))
            case "text":
                return self._text_or_reference(token)
            case "word":
                return self._word(token)
            case "sign" if token.text == "(":
                self._deeper()
                node = self._any_of()
                self._depth -= 1
                if not self._takes("sign", ")"):
                    raise BadCondition("a parenthesis is not closed")
                return node
        if token.kind == "param":
            raise BadCondition(f"{token.text[:40]!r} is replaced only in pipeline files: write the value")
        raise BadCondition(f"a value is missing before {token.text!r}")

    def _word(self, token: Token) -> Node:
        reference = reference_in(token.text)
        if reference is not None:
            self.references.append(reference)
            return reference
        if token.text in _LITERALS:
            return Literal(_LITERALS[token.text])
        if token.text.lower() in _WORDS:
            return Literal(_WORDS[token.text.lower()])
        if token.text in JobState.__members__:
            return Literal(token.text)
        if token.text in ("and", "or", "not"):
            raise BadCondition(f"a value is missing before {token.text!r}")
        shown = token.text[:40]
        if shown.startswith("params."):
            raise BadCondition(f"{shown!r} is not known: write ${{{shown}}} for the value of a parameter")
        raise BadCondition(
            f"{shown!r} is not known: write {shown!r} in quotes for a text, {shown}.state or {shown}.result.KEY for a job"
        )

    def _text_or_reference(self, token: Token) -> Node:
        text = re.sub(r"\\(.)", r"\1", token.text[1:-1])
        following = self._next()
        if following is None or following.begin != token.end or not following.text.startswith("."):
            return Literal(text)
        self._at += 1
        reference = reference_in(f"x{following.text}")
        if reference is None or match_name(text) is None:
            raise BadCondition(f"{(token.text + following.text)[:60]!r} is not the state or the result of a job")
        reference = reference._replace(job=text)
        self.references.append(reference)
        return reference

    def _next(self) -> Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _takes(self, kind: str, text: str) -> bool:
        token = self._next()
        found = token is not None and token.kind == kind and token.text == text
        self._at += found
        return found

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise BadCondition(f"is nested more than {MAX_DEPTH} deep: let a job decide and read its result")


def reference_in(word: str) -> Reference | None:
    """Return the reference that a word is; None for another word.

    >>> reference_in("part[0].result.state"), reference_in("a.b.state"), reference_in("COMPLETED")
    (Reference(job='part[0]', keys=('state',)), Reference(job='a.b', keys=None), None)
    """
    found = re.search(r"\.result(?=\.|$)", word)
    if found is not None:
        job, keys = word[: found.start()], word[found.end() + 1 :]
        reference = Reference(job, tuple(keys.split(".")) if word[found.end() :] else ())
        return reference if match_name(job) is not None and all(reference.keys or "x") else None
    job, dot, state = word.rpartition(".")
    return Reference(job, None) if dot and state == "state" and match_name(job) is not None else None


def _truth(node: Node) -> Node:
    """Return the node if it can be true or false. Raises BadCondition."""
    if isinstance(node, Reference) and node.keys is None:
        raise BadCondition(f"{node} is a text: compare it, as in {node} == COMPLETED")
    if isinstance(node, Literal) and not isinstance(node.value, bool):
        raise BadCondition(f"{_shown(node.value)} is not true or false: compare it, as in JOB.result == {_shown(node.value)}")
    return node


def _compared(sign: str, left: Node, right: Node) -> Node:
    for state, other in ((left, right), (right, left)):
        if not isinstance(state, Reference) or state.keys is not None:
            continue
        if sign not in ("==", "!="):
            raise BadCondition(f"{state} has no order: compare it by == or !=")
        if other == Literal("FAILED"):  # in quotes
            return Operation(sign, (state, Literal("DEAD")))
        if isinstance(other, Literal) and other.value not in STATES:
            raise BadCondition(f"{state} is never {_shown(other.value)}: a job ends as {', '.join(STATES[:-1])} or {STATES[-1]}")
    return Operation(sign, (left, right))


# -- changes of the text ---------------------------------------------------------------------------
def with_params(text: str, insert: Callable[[str], tuple[str, bool]]) -> str:
    """Return a condition with values in place of `${params.NAME}`. Raises BadCondition.

    `insert` returns the value of a placeholder, and whether it is a text. Inside of quotes the
    value becomes a part of the text, whatever it holds.

    >>> with_params("${params.env} == 'a-${params.env}'", lambda _: ("it's", True))
    "'it\\\\'s' == 'a-it\\\\'s'"
    """

    def changed(token: Token) -> str:
        if token.kind == "param":
            value, is_text = insert(token.text)
            return f"'{_escaped(value)}'" if is_text else value
        if token.kind == "text" and "${params." in token.text:
            return re.sub(r"\$\{params\.[^{}]*\}", lambda found: _escaped(insert(found[0])[0]), token.text)
        return token.text

    return _rewritten(text, changed)


def renamed(text: str, names: Mapping[str, str]) -> str:
    """Return a condition on other jobs: `names` maps old ids to new ones.

    >>> renamed("a.state == COMPLETED and b.result.x", {"a": "sub.a"})
    'sub.a.state == COMPLETED and b.result.x'
    """

    def changed(token: Token) -> str:
        reference = reference_in(token.text) if token.kind == "word" else None
        if reference is None or reference.job not in names:
            return token.text
        new = reference._replace(job=names[reference.job])
        word = str(new)
        return word if reference_in(word) == new and "=" not in word.partition("[")[0] else f"'{new.job}'{word[len(new.job) :]}"

    return _rewritten(text, changed)


def _rewritten(text: str, changed: Callable[[Token], str]) -> str:
    made, at = [], 0
    for token in tokens_of(text):
        made += [text[at : token.begin], changed(token)]
        at = token.end
    return "".join(made)


def _escaped(text: str) -> str:
    return re.sub(r"([\\'\"])", r"\\\1", text)


# -- meaning ---------------------------------------------------------------------------------------
def is_true(condition: Condition, read: Callable[[Reference], object]) -> bool:
    """Return the truth of a condition. Raises BadCondition.

    `read` returns the value of a reference. It is called only for references that matter: the right
    side of `and` and `or` may be left out.
    """
    return _is_true(condition.node, read)


def _is_true(node: Node, read: Callable[[Reference], object]) -> bool:
    if isinstance(node, Operation) and node.name in ("and", "or"):
        wanted = node.name == "or"
        return wanted if any(_is_true(operand, read) is wanted for operand in node.operands) else not wanted
    if isinstance(node, Operation) and node.name == "not":
        return not _is_true(node.operands[0], read)
    value = _value(node, read)
    if not isinstance(value, bool):
        raise BadCondition(f"{node} is {_shown(value)}, not true or false")
    return value


def _value(node: Node, read: Callable[[Reference], object]) -> object:
    if isinstance(node, Literal):
        return node.value
    if isinstance(node, Reference):
        return read(node)
    if node.name in ("and", "or", "not"):
        return _is_true(node, read)
    left, right = [_value(operand, read) for operand in node.operands]
    if node.name in ("==", "!="):
        return _is_same(left, right) is (node.name == "==")
    if (isinstance(left, str) and isinstance(right, str)) or (_is_number(left) and _is_number(right)):
        return _ORDERS[node.name](left, right)
    raise BadCondition(f"{_shown(left)} {node.name} {_shown(right)}: only two numbers or two texts have an order")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_same(left: object, right: object) -> bool:
    if isinstance(left, bool) is not isinstance(right, bool):
        return False
    return left == right


def part_of(value: object, reference: Reference) -> object:
    """Return the part of a result that the reference names. Raises BadCondition."""
    at = f"{reference.job}.result"
    for key in reference.keys or ():
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and len(key) < 10 and int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, Mapping):
            names = ", ".join(map(str, list(value)[:10]))
            raise BadCondition(f"{at} has no {key!r}: it has {names}" if names else f"{at} has no {key!r}: it is empty")
        else:
            raise BadCondition(f"{at} has no {key!r}: it is {_shown(value)}")
        at = f"{at}.{key}"
    return value


def result_of(job: str, state: str, value: bytes) -> object:
    """Return the result of a job that is in JSON. Raises BadCondition."""
    if state != "COMPLETED":
        raise BadCondition(f"{job} is {state} and has no result")
    if not value:
        raise BadCondition(f"{job} set no result: call context.result in it, or `titan context result`")
    if value[:1] == JSON_AT:
        raise BadCondition(f"the result of {job} is larger than 64 KiB: set a smaller one")
    if value[:1] != JSON:
        raise BadCondition(f"the result of {job} is a Python object: set plain values by context.result")
    try:
        return msgspec.json.decode(value[1:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadCondition(f"the result of {job} is not valid JSON") from None


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def values_text(values: Mapping[Reference, object]) -> str:
    """Return the values that a condition has read, for a reason.

    >>> values_text({Reference("a", None): "DEAD", Reference("b", ("x",)): 3})
    'a is DEAD, b.result.x is 3'
    """
    return ", ".join(
        f"{reference.job} is {value}" if reference.keys is None else f"{reference} is {_shown(value)}"
        for reference, value in values.items()
    )


# -- checks of a graph -----------------------------------------------------------------------------
def condition_problem(text: str, when: str) -> str:
    """Return why a template cannot have this condition; "" if it can."""
    try:
        condition = parse(text)
    except BadCondition as bad:
        return str(bad)
    return "reads the state of a job, but the job does not wait for its end" if condition.jobs_by_state and not when else ""


def check_condition(
    job: str, template: JobTemplate, parents: Sequence[int], parent: Callable[[int], tuple[str, JobTemplate]]
) -> None:
    """Raise InvalidGraph unless the condition names only parents of the job that are no services.

    `parent(position)` returns the id and template of a parent.
    """
    if not template.condition:
        return
    known = dict(parent(p) for p in parents)
    for name in parse(template.condition).jobs:
        if name not in known:
            raise InvalidGraph(f"job {job!r}: if: {name!r} is not a job that this one depends on", job)
        if known[name].kind == SERVICE:
            raise InvalidGraph(f"job {job!r}: if: {name!r} is a service, which has no result: name another job", job)
    if template.when and template.when != ALWAYS:
        for name, found in known.items():
            if found.kind == SERVICE:
                fix = "put a job between them"
                raise InvalidGraph(f"job {job!r}: if: waits for the end of its parents, and {name!r} is a service: {fix}", job)
