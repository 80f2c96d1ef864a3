"""What a process begins with."""

import resource
import subprocess
import sys


def test_a_process_may_have_many_files_open_where_the_system_lets_it() -> None:
    code = (
        "import resource; from doubleroute.environment import set_defaults;"
        "set_defaults(); print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard)),
    )
    assert int(done.stdout) == (10_240 if hard == resource.RLIM_INFINITY else min(hard, 10_240))
