"""First script that a warm warden runs. The exit code `CODE` proves that the warden can fork
scripts."""

CODE = 23

if __name__ == "__main__":
    raise SystemExit(CODE)
