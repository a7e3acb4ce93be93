"""From generated text to a call: write, import and compile modules, keep them on disk, match and check arguments."""
