"""The fork server, each time in a fresh process: this one has threads and torch."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a fork server")

BEGIN = """
import os, subprocess, sys, time
from pathlib import Path
from doubleroute import forks

def child(code, **options):
    Path("child.py").write_text(code)
    return forks.start("child.py", ("first", "second"), **options)
"""


def script(folder: Path, text: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", BEGIN + text]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def said(folder: Path, text: str) -> list[str]:
    process = script(folder, text)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.splitlines()


def test_a_child_has_the_libraries_but_no_module_of_ours_and_its_own_environment(tmp_path: Path) -> None:
    out = said(
        tmp_path,
        """
forks.keep(["colorsys"])
told = '''
import os, sys
print("colorsys" in sys.modules, any(name.startswith("doubleroute") for name in sys.modules))
print(sys.argv[1:], os.environ["GIVEN"], sys.stdin.read())
'''
pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
given = child(told, **pipes, env={**os.environ, "GIVEN": "x"})
given.stdin.write("read")
given.stdin.close()
print(given.stdout.read(), given.wait(), given.pid != os.getpid())
""",
    )
    assert out == ["True False", "['first', 'second'] x read", " 0 True"]


def test_a_library_of_one_order_is_there_for_the_next(tmp_path: Path) -> None:
    out = said(
        tmp_path,
        """
forks.keep()
told = "import sys; sys.exit(int('colorsys' in sys.modules))"
given = [(), ("colorsys", "there.is.none"), ()]
print([child(told, libraries=each).wait() for each in given])
""",
    )
    assert out == ["[0, 1, 1]"]


def test_the_end_of_a_child_is_told(tmp_path: Path) -> None:
    out = said(
        tmp_path,
        """
forks.keep()
print(child("import sys; sys.exit(3)").wait())
with open("err", "w") as err:
    print(child("1 / 0", stderr=err).wait())
print(Path("err").read_text().splitlines()[-1])
long = child("import time; time.sleep(60)")
try:
    long.wait(0.1)
except subprocess.TimeoutExpired:
    print(long.poll())
long.kill()
long.kill()
print(long.wait(), long.poll())
""",
    )
    assert out == ["3", "1", "ZeroDivisionError: division by zero", "None", "-9 -9"]


#: What makes a copy of the process unsafe.
THREAD = "import threading; threading.Thread(target=time.sleep, args=(1,), daemon=True).start()"
TORCH = "sys.modules['torch'] = sys; sys.cuda = sys; sys.is_available = lambda: False"


@pytest.mark.parametrize("how", [signal.SIGKILL, None])
@pytest.mark.parametrize("before", ["", THREAD], ids=["a copy", "a new interpreter"])
def test_no_child_outlives_the_process_that_asked_for_it(
    tmp_path: Path, how: signal.Signals | None, before: str
) -> None:
    keeper = script(
        tmp_path,
        before
        + """
forks.keep()
child("import os, time; open('pid', 'w').write(str(os.getpid()) + ' ' + str(os.getppid())); time.sleep(60)")
print("there", flush=True)
time.sleep(1)
""",
    )
    deadline = time.monotonic() + 30
    while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    if how is not None:
        os.kill(keeper.pid, how)
    keeper.communicate(timeout=30)
    for pid in (tmp_path / "pid").read_text().split():
        while Path(f"/proc/{pid}").exists() and _state(pid) != "Z":
            assert time.monotonic() < deadline
            time.sleep(0.01)


def _state(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


@pytest.mark.parametrize("before", [THREAD, TORCH], ids=["another thread", "torch"])
def test_where_a_copy_is_not_safe_a_new_interpreter_forks(tmp_path: Path, before: str) -> None:
    told = "import sys; print('colorsys' in sys.modules, 'torch' in sys.modules, sys.argv[1:])"
    out = said(
        tmp_path,
        f"""
{before}
forks.keep(["colorsys"])
print("colorsys" in sys.modules)
given = child({told!r}, stdout=subprocess.PIPE, text=True)
print(given.stdout.read().strip(), given.wait())
""",
    )
    assert out == ["False", "True False ['first', 'second'] 0"]


def test_threads_that_ask_at_once_share_one_server(tmp_path: Path) -> None:
    out = said(
        tmp_path,
        """
import threading
asking = [threading.Thread(target=forks.keep) for _ in range(8)]
for each in asking:
    each.start()
for each in asking:
    each.join()
Path("told.py").write_text("import os; print(os.getppid())")
given = [forks.start("told.py", (), stdout=subprocess.PIPE, text=True) for _ in range(4)]
print(len({each.stdout.read() for each in given}), [each.wait() for each in given])
""",
    )
    assert out == ["1 [0, 0, 0, 0]"]


def test_with_a_gpu_nothing_is_kept(tmp_path: Path) -> None:
    gpu = TORCH.replace("False", "True")
    assert said(tmp_path, f"{gpu}\nforks.keep()\nprint(child('') is None)\n") == ["True"]
