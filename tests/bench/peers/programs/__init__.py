"""The peers, as users of those libraries would write them. They run under interpreters of their own, so
they import nothing of this project but what stands in this folder, which needs the standard library only.
"""
