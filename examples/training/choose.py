"""Chooses the learning rate with the smallest loss."""

from titan import context

tried = [context.value_of(f"train[{i}]") for i in range(3)]
best = min(tried, key=lambda it: it["loss"])
for it in sorted(tried, key=lambda it: it["loss"]):
    print(f"rate {it['rate']:<5} loss {it['loss']:.3g}")
context.result(best)
