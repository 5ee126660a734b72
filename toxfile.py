"""Lets several tox environments share one installation, which holds torch and is therefore large."""

from tox.plugin import impl
from tox.tox_env.python.virtual_env.runner import VirtualEnvRunner
from tox.tox_env.register import ToxEnvRegister


class SharedRunner(VirtualEnvRunner):
    """A virtual environment that belongs to every tox environment with the same ``env_dir``.

    tox makes an environment anew when another name used it last. Taking over the name first keeps what is installed;
    the dependencies are compared as ever. Should tox change this hook, installations are repeated, nothing worse.
    """

    @staticmethod
    def id() -> str:
        """Return the name to put into ``runner``."""
        return "shared"

    def _setup_env(self) -> None:
        with self.cache.compare({"name": self.conf.name, "type": type(self).__name__}, "ToxEnv"):
            pass
        super()._setup_env()


@impl
def tox_register_tox_env(register: ToxEnvRegister) -> None:
    """Register the runner."""
    register.add_run_env(SharedRunner)
