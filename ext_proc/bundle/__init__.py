"""What an operator writes: from a YAML file to a rulebook, or to every problem in it at once.

document.py reads YAML, models.py is the format, registry.py and protocols.py know the plug-ins and codecs, secrets.py
resolves secrets, plugins.py sets policies up, checks.py looks across, compile.py makes the rulebook, load.py runs it
all, reference.py writes the reference.

Not here: when a bundle is loaded again (server/).
"""
