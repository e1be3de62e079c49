//! Calico's selector language (grammar in `docs/`): parse, canonical text, evaluation.
