//! Where a test may end the process: before and after each kind of effect. One function, so that the list of points is
//! the list of its callers. Without the feature `failpoints` it is nothing.

/// Ends the process as `kill -9` would, if `TORTIE_FAILPOINT` names this point.
#[inline]
pub(crate) fn failpoint(name: &str) {
    #[cfg(feature = "failpoints")]
    if std::env::var("TORTIE_FAILPOINT").is_ok_and(|point| point == name) {
        std::process::abort();
    }
    let _ = name;
}
