import sys; sys.path.insert(0,"/work/wt/f/tests")
from test_model import *
def test_mid(subject):
    c=compare(subject, runs=30, steps=60)
