"""Which hosts exist, by site. A site is a group: its data stand in group_data/<group>.py.

Add your own below, for example `course = ["gpu1.example.org"]` with group_data/course.py.
"""

# The disposable host of `make up`. It is reached inside the lab's network namespace only.
lab = ["lab"]
