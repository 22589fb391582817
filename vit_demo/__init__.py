"""See a Vision Transformer work: the app and the maths behind it."""

import sys

if sys.argv[:1] == ["-m"]:  # so it reads while Python looks for the module that it is to run
    from vit_demo.commands import quiet_while_loading

    quiet_while_loading()
