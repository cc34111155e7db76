"""Laws of the command line as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon import __version__, cli


def ended(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str]:
    with pytest.raises(SystemExit) as exit_:
        cli.main(list(arguments))
    return exit_.value.code, capsys.readouterr().out


def test_the_version_is_told_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(capsys, "--version") == (0, f"erpsyncd {__version__}\n")


def test_a_command_that_does_not_exist_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(capsys, "lunch") == (64, "")


def test_a_file_that_is_named_too_early_is_told_where_it_goes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["-c", "config.toml", "status"])
    assert exit_.value.code == 64
    assert "-c FILE goes after the command" in capsys.readouterr().err


def test_config_check_takes_its_file_as_every_other_command_does(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text("[erp]\n")
    for arguments in (["config.toml"], ["-c", "config.toml"]):
        with pytest.raises(SystemExit) as exit_:
            cli.main(["config", "check", *arguments])
        assert exit_.value.code == 78
        assert "erp.dsn: is missing" in capsys.readouterr().err
    for arguments in ([], ["config.toml", "-c", "config.toml"]):
        assert ended(capsys, "config", "check", *arguments) == (64, "")


def test_the_dbas_sql_needs_the_erps_address_and_no_stores_token(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file, dsn = tmp_path / "config.toml", tmp_path / "erp-dsn"
    file.write_text(f"""
[erp]
dsn = {{ file = "{dsn}" }}
[entity.stock]
sql = "select id as key, sku, available from s where id = any($1)"
all_keys = "select id from s where id > $1 order by id limit $2"
watch = [{{ table = "s", key = "id" }}]
[store.main]
adapter = "http"
url = "https://shop.example/api"
token = {{ env = "ERPSYNCD_NOT_SET" }}
entities = ["stock"]
""")
    for command in (["setup", "--offline"], ["teardown"], ["monitor"]):
        dsn.unlink(missing_ok=True)
        with pytest.raises(SystemExit) as exit_:
            cli.main(["sql", *command, "-c", str(file)])
        said = capsys.readouterr()
        assert (exit_.value.code, said.out) == (78, "")
        assert "erp.dsn: file " in said.err
        dsn.write_text("postgresql://reader@db/the_erp\n")
        code, printed = ended(capsys, "sql", *command, "-c", str(file))
        assert code == 0
        assert "the_erp" in printed
