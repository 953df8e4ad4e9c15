//! The one door to verified values.

use crate::{Checker, Verifier, VerifyError};
use core::ops::Deref;

/// Something whose signatures can be checked.
///
/// The implementer owes that a yes convinces a stranger who trusts the context alone.
pub trait Verify {
    /// What has to be known: keys, chain, committee.
    type Context: ?Sized;

    /// Checks every signature that the value carries.
    fn verify<V: Verifier>(
        &self,
        context: &Self::Context,
        checker: &mut Checker<V>,
    ) -> Result<(), VerifyError>;
}

/// A value whose signatures were checked.
///
/// There is no other way to make one than [`Verified::check`], and none to change the value
/// inside. Machines take their messages in this form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Verified<T>(T);

impl<T: Verify> Verified<T> {
    /// Checks the value; it is dropped if a signature does not hold.
    pub fn check<V: Verifier>(
        value: T,
        context: &T::Context,
        checker: &mut Checker<V>,
    ) -> Result<Self, VerifyError> {
        value.verify(context, checker)?;
        Ok(Self(value))
    }
}

impl<T> Verified<T> {
    /// Gives the value away; it is then an ordinary value again.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
