"""Fits a line to the points at one learning rate, and reports progress and status."""

import sys

from titan import context

rate = float(sys.argv[1])
context.status(f"rate {rate}")
context.artifact("points").download("points.txt")
with open("points.txt") as file:
    points = [tuple(map(float, line.split())) for line in file]
assert len(points) == context.value_of("prepare")["points"]

epochs = int(context.store.get("epochs") or 0)
slope = offset = loss = 0.0
for epoch in range(1, epochs + 1):
    errors = [(slope * x + offset - y, x) for x, y in points]
    loss = sum(error * error for error, _ in errors) / len(points)
    slope -= rate * 2 * sum(error * x for error, x in errors) / len(points)
    offset -= rate * 2 * sum(error for error, _ in errors) / len(points)
    context.progress(epoch / epochs, f"epoch {epoch}, loss {loss:.3g}")
    if loss > 1e6:
        context.status(f"rate {rate} diverges")
        break
context.store.execute("ZADD", "losses", loss, rate)
context.result({"rate": rate, "loss": loss, "line": [round(slope, 2), round(offset, 2)]})
