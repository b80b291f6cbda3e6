//! Diagnostics: to `log`, to `defmt`, to both or to nobody, as the features say.

/// Says something that an operator should look into. Arguments are integers and text.
macro_rules! warning {
    ($($arg:tt)*) => {{
        #[cfg(feature = "log")]
        ::log::warn!($($arg)*);
        #[cfg(feature = "defmt")]
        ::defmt::warn!($($arg)*);
        #[cfg(not(any(feature = "log", feature = "defmt")))]
        {
            let _ = format_args!($($arg)*);
        }
    }};
}

/// Says what an operator wants to follow. Arguments are integers and text.
macro_rules! notice {
    ($($arg:tt)*) => {{
        #[cfg(feature = "log")]
        ::log::info!($($arg)*);
        #[cfg(feature = "defmt")]
        ::defmt::info!($($arg)*);
        #[cfg(not(any(feature = "log", feature = "defmt")))]
        {
            let _ = format_args!($($arg)*);
        }
    }};
}

pub(crate) use {notice, warning};
