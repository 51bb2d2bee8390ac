"""The first script that a warm warden runs: it ends as it says if scripts can be forked there."""

CODE = 23

if __name__ == "__main__":
    raise SystemExit(CODE)
