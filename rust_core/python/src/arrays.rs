//! Arrays from Python: taken as they lie where they lie in one piece in C order, aligned; copied where
//! not.

use numpy::ndarray::Dimension;
use numpy::{Element, PyArray, PyArrayMethods, PyReadonlyArray, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::NetworkError;

/// An array that Python handed over; no values where it said None.
pub(crate) struct Column<T, D>(Option<Py<PyArray<T, D>>>);

/// The values of a [`Column`], for as long as they are looked at.
pub(crate) struct View<'py, T: Element, D: Dimension>(Option<PyReadonlyArray<'py, T, D>>);

impl<T: Element + Copy, D: Dimension> Column<T, D> {
    pub(crate) fn new(array: &Bound<'_, PyArray<T, D>>) -> PyResult<Self> {
        let kept = if array.is_c_contiguous() && array.is_aligned() {
            array.clone()
        } else {
            array.call_method0("copy")?.cast_into()?
        };
        Ok(Self(Some(kept.unbind())))
    }

    pub(crate) fn optional(array: Option<&Bound<'_, PyArray<T, D>>>) -> PyResult<Self> {
        array.map_or(Ok(Self(None)), Self::new)
    }

    pub(crate) fn view<'py>(&self, py: Python<'py>) -> View<'py, T, D> {
        View(self.0.as_ref().map(|array| array.bind(py).readonly()))
    }

    /// The lengths along each dimension; none for None.
    pub(crate) fn shape(&self, py: Python<'_>) -> Vec<usize> {
        self.0.as_ref().map_or_else(Vec::new, |array| array.bind(py).shape().to_vec())
    }
}

impl<T: Element, D: Dimension> View<'_, T, D> {
    pub(crate) fn values(&self) -> PyResult<&[T]> {
        match &self.0 {
            Some(array) => array.as_slice().map_err(|_| {
                NetworkError::new_err("an array was laid out anew after it was handed over")
            }),
            None => Ok(&[]),
        }
    }
}
