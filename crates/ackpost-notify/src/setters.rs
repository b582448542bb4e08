//! Builder methods of option structs.

/// Writes a method `with_FIELD` for each field. A struct with further fields is then no breaking change.
///
/// For the crates of Ackpost; it may change in any version.
#[doc(hidden)]
#[macro_export]
macro_rules! setters {
    ($type:ty { $($with:ident($field:ident: $value:ty)),+ $(,)? }) => {
        impl $type {
            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](Self::", stringify!($field), ").")]
                #[must_use]
                pub fn $with(mut self, $field: $value) -> Self {
                    self.$field = $field;
                    self
                }
            )+
        }
    };
}

pub(crate) use setters;
