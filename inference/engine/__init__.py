"""What runs inside vLLM, or speaks of it: the plugin that takes logprobs where they are arrays.

    tag        what the proxy writes into a request so that its tokens are captured      (proxy and engine)
    form       how the engine's spool keeps one choice's tokens                          (engine and drain)
    collector  one choice's arrays while they come                                       (engine)
    recorder   records into the spool, never waiting; what is dropped is counted         (engine)
    front      requests that ask, and rows that go to collectors                         (engine's front end)
    core       a step's rows in one piece                                                (engine's core)
    plugin     the places in vLLM where it is joined                                     (engine)
    endpoint   what the engine says about its capture over HTTP                          (engine)

An installable package of its own (pyproject.toml beside this file): the engine's environment has neither
Django nor ClickHouse. Only ``plugin`` imports vLLM.
"""

VERSION = "0.1.0"
"""The plugin's; engines tell it and records carry it."""
