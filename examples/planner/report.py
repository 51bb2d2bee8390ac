"""Prints the largest packages, by the numbers of lines that the `count` jobs stored."""

from titan import context

lines = {name.decode(): int(count) for name, count in context.store.hgetall("lines").items()}
for name in sorted(lines, key=lambda name: -lines[name])[:5]:
    print(f"{lines[name]:>8,} {name}")
print(f"{sum(lines.values()):>8,} in {len(lines)} packages")
