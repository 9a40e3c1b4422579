//! Values of keys that a world file leaves out.

pub(super) fn account_id() -> String {
    "123456789012".to_owned()
}

pub(super) fn speed() -> f64 {
    1.0
}
