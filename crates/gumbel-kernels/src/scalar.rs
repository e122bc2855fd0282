//! Numbers that kernels of structured distributions are generic over: floats, and floats with a derivative.

use std::ops::{Add, AddAssign, Div, Mul, Sub};

use crate::vmath;

/// A number with `+ - × ÷ exp ln`. A kernel that is written for it gives values for floats and, for [`Dual`] numbers,
/// directional derivatives too.
pub trait Scalar:
    Copy
    + Send
    + Sync
    + Add<Output = Self>
    + AddAssign
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
{
    /// A number without a derivative, rounded to the type.
    fn constant(x: f64) -> Self;

    /// The number without its derivative.
    fn value(self) -> f64;

    /// `eˣ`.
    fn exp(self) -> Self;

    /// `ln x`. At zero it is `-∞`, with derivative zero.
    fn ln(self) -> Self;
}

impl Scalar for f64 {
    #[inline(always)]
    fn constant(x: f64) -> Self {
        x
    }

    #[inline(always)]
    fn value(self) -> f64 {
        self
    }

    #[inline(always)]
    fn exp(self) -> Self {
        f64::exp(self)
    }

    #[inline(always)]
    fn ln(self) -> Self {
        f64::ln(self)
    }
}

impl Scalar for f32 {
    #[inline(always)]
    fn constant(x: f64) -> Self {
        x as f32
    }

    #[inline(always)]
    fn value(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn exp(self) -> Self {
        vmath::exp(self)
    }

    #[inline(always)]
    fn ln(self) -> Self {
        vmath::ln(self)
    }
}

/// `value + tangent ε` with `ε² = 0`: a number and its derivative in one direction.
///
/// The Hessian of a log-partition is symmetric. So its product with a covector is the derivative of the marginals
/// in the direction of that covector: one run of the marginals' kernel in dual numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Dual {
    /// The number.
    pub value: f64,
    /// Its derivative.
    pub tangent: f64,
}

impl Scalar for Dual {
    #[inline(always)]
    fn constant(value: f64) -> Self {
        Self { value, tangent: 0.0 }
    }

    #[inline(always)]
    fn value(self) -> f64 {
        self.value
    }

    #[inline(always)]
    fn exp(self) -> Self {
        let value = self.value.exp();
        Self { value, tangent: value * self.tangent }
    }

    #[inline(always)]
    fn ln(self) -> Self {
        let tangent = if self.value == 0.0 { 0.0 } else { self.tangent / self.value };
        Self { value: self.value.ln(), tangent }
    }
}

impl Add for Dual {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self { value: self.value + other.value, tangent: self.tangent + other.tangent }
    }
}

impl AddAssign for Dual {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Dual {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self { value: self.value - other.value, tangent: self.tangent - other.tangent }
    }
}

impl Mul for Dual {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        let tangent = self.tangent * other.value + self.value * other.tangent;
        Self { value: self.value * other.value, tangent }
    }
}

impl Div for Dual {
    type Output = Self;

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        Self { value, tangent: (self.tangent - value * other.tangent) / other.value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every operation once.
    fn f<S: Scalar>(x: S, y: S) -> S {
        let mut sum = (x * y).exp() / (x + y * y);
        sum += (x - y).ln() * S::constant(0.7);
        sum
    }

    #[test]
    fn tangents_are_derivatives_and_values_those_of_floats() {
        let (x, y, dx, dy) = (1.7, 0.4, 0.6, -1.1);
        let dual = f(Dual { value: x, tangent: dx }, Dual { value: y, tangent: dy });
        assert_eq!(dual.value(), f(x, y));
        assert!((f64::from(f(x as f32, y as f32)) - dual.value).abs() < 1e-6);
        let h = 1e-6;
        let difference = (f(x + h * dx, y + h * dy) - f(x - h * dx, y - h * dy)) / (2.0 * h);
        assert!((dual.tangent - difference).abs() < 1e-9);
    }

    #[test]
    fn nothing_becomes_nan_where_a_weight_is_zero() {
        let zero = Dual { value: f64::NEG_INFINITY, tangent: 2.0 }.exp();
        assert_eq!(zero, Dual::default());
        assert_eq!(zero.ln(), Dual { value: f64::NEG_INFINITY, tangent: 0.0 });
    }
}
