//! Which entries of a list a failure needs: halves are taken off, then quarters, down to single ones, as long as it still fails.

/// What is left of `entries` when nothing more can be taken off without losing the failure.
pub fn minimised<T: Clone>(mut entries: Vec<T>, fails: impl Fn(&[T]) -> bool) -> Vec<T> {
    let mut size = entries.len().div_ceil(2).max(1);
    loop {
        let (mut at, mut went) = (0, false);
        while at < entries.len() {
            let end = (at + size).min(entries.len());
            let fewer = [&entries[..at], &entries[end..]].concat();
            if fails(&fewer) {
                (entries, went) = (fewer, true);
            } else {
                at = end;
            }
        }
        if size > 1 {
            size = size.div_ceil(2);
        } else if !went {
            return entries;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failure_needs_is_left_in_its_order() {
        let all: Vec<u32> = (0..100).collect();
        let needs = |entries: &[u32]| [7, 40, 41].iter().all(|n| entries.contains(n));
        assert_eq!(minimised(all, needs), [7, 40, 41]);
        assert_eq!(minimised(vec![1, 2, 3], |_| true), [0; 0]);
    }
}
