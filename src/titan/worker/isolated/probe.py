"""First script that a warm warden runs. It exits with `CODE` if scripts can be forked there."""

CODE = 23

if __name__ == "__main__":
    raise SystemExit(CODE)
