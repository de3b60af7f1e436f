"""Ansible's stdout callback that tells garcon, line by line, how a playbook the host applies is going."""

from __future__ import absolute_import, division, print_function

from ansible.plugins.callback import CallbackBase

__metaclass__ = type

DOCUMENTATION = """
    name: garcon
    type: stdout
    short_description: report the results of tasks to garcon
    version_added: historical
    description:
        - Used by the ansible-playbook that garcon starts to apply the host's playbook to the container.
"""

# garcon reads the lines that begin so; everything else is for the log.
PREFIX = "MESSAGE TO GARCON: "


class CallbackModule(CallbackBase):
    """Print one line for garcon, and the output of the task, for each result."""

    CALLBACK_VERSION = 1.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "garcon"

    def _tell(self, message, result, caption):
        said = result._result
        self._display.display(PREFIX + message)
        self._display.display("%s | %s | rc=%s >>" % (result._host.get_name(), caption, said.get("rc", -1)))
        for stream in ("stdout", "stderr", "msg"):
            if said.get(stream):
                self._display.display(str(said[stream]))

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._handle_exception(result._result)
        self._handle_warnings(result._result)
        self._tell("TASK_FAILED", result, "FAILED")

    def v2_runner_on_ok(self, result):
        self._clean_results(result._result, result._task.action)
        self._handle_warnings(result._result)
        self._tell("TASK_OK", result, "CHANGED" if result._result.get("changed") else "SUCCESS")

    def v2_runner_on_skipped(self, result):
        self._display.display(PREFIX + "TASK_SKIPPED")
        self._display.display("%s | SKIPPED" % result._host.get_name())

    def v2_runner_on_unreachable(self, result):
        self._tell("TASK_UNREACHABLE", result, "UNREACHABLE")
