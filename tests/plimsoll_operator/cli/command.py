"""The command, run in this process: its status and what it prints."""

from plimsoll_operator.cli import main


def ask(capsys, tmp_path, command, *argv):
    nodes = [] if "--nodes" in argv else ["--nodes", str(tmp_path / "nodes.yaml")]
    status = main([command, *argv, *nodes])
    out, err = capsys.readouterr()
    return status, out, err
