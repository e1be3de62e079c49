//! What is wrong with a field of a resource, in the words of `calicoctl`.

use std::fmt;

/// One field that a resource may not have so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field as Calico names it: `IPPool.Spec.CIDR` or `spec.vxlanMode`.
    pub field: String,
    /// What was given, unless nothing was.
    pub value: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

impl FieldError {
    /// An error about a field and its value.
    pub fn new(field: impl Into<String>, value: impl fmt::Display, reason: impl Into<String>) -> FieldError {
        FieldError { field: field.into(), value: Some(value.to_string()), reason: reason.into() }
    }

    /// An error about a field that is missing, or whose value says nothing.
    pub fn bare(field: impl Into<String>, reason: impl Into<String>) -> FieldError {
        FieldError { field: field.into(), value: None, reason: reason.into() }
    }

    /// A value that its type's own rule refuses: Calico names the field and the rule, here `vxlanMode` or `cidrv4`.
    pub(crate) fn tag(field: &str, value: impl fmt::Display, tag: &str) -> FieldError {
        let reason = format!("Reason: failed to validate Field: {field} because of Tag: {tag} ");
        FieldError::new(field, value, reason)
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} = '{value}' ({})", self.field, self.reason),
            None => write!(f, "{} ({})", self.field, self.reason),
        }
    }
}

/// All that is wrong with a resource, in the order in which it was found; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// `Ok` if nothing was found.
    pub fn check(errors: Vec<FieldError>) -> Result<(), FieldErrors> {
        if errors.is_empty() { Ok(()) } else { Err(FieldErrors(errors)) }
    }

    /// The errors, at least one.
    pub fn iter(&self) -> std::slice::Iter<'_, FieldError> {
        self.0.iter()
    }
}

impl From<FieldError> for FieldErrors {
    fn from(error: FieldError) -> FieldErrors {
        FieldErrors(vec![error])
    }
}

impl fmt::Display for FieldErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [error] = &self.0[..] {
            return write!(f, "error with field {error}");
        }
        f.write_str("error with the following fields:\n")?;
        self.0.iter().try_for_each(|error| writeln!(f, "-  {error}"))
    }
}

impl std::error::Error for FieldErrors {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_error_is_a_line_and_several_are_a_list() {
        let cidr = FieldError::bare("IPPool.Spec.CIDR", "IPPool CIDR must be specified");
        let mode = FieldError::tag("VXLANMode", "Sometimes", "vxlanMode");
        assert_eq!(
            FieldErrors(vec![cidr.clone()]).to_string(),
            "error with field IPPool.Spec.CIDR (IPPool CIDR must be specified)"
        );
        assert_eq!(
            FieldErrors(vec![cidr, mode]).to_string(),
            "error with the following fields:\n\
             -  IPPool.Spec.CIDR (IPPool CIDR must be specified)\n\
             -  VXLANMode = 'Sometimes' (Reason: failed to validate Field: VXLANMode because of Tag: vxlanMode )\n"
        );
    }
}
