"""Reading and changing GraphDefs: names, copies, dependences, types, function libraries. What the rewritings share.

A GraphDef that is given is not modified, unless the docstring says "in place".
"""
