//! Whole clusters in virtual time. The simulator is `testkit::sim`; the runs and cases are in `tests/`.
