"""What holds on a GPU, and how fast it is: ``python -m benchmarks.gpu`` writes ``docs/gpu.*``.

Checks compare with the CPU or send small runs through VISSL's launcher; measurements time the
training step and its parts. Every step is a process of its own with a time limit. With ``--device
cpu`` all of it runs small, to test the script itself.
"""
