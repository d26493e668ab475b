"""How libraries are loaded: without what nobody reads here, and without what they load and do not use."""
