//! Arrays from Python: taken as they lie where they lie in one piece in C order, aligned; copied where
//! not.

use numpy::ndarray::Dimension;
use numpy::{
    Element, PyArray, PyArrayMethods, PyReadonlyArray, PyUntypedArray, PyUntypedArrayMethods, dtype,
};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::NetworkError;

/// An array of a type and number of dimensions, as an argument.
pub(crate) struct Array<'py, T, D>(pub(crate) Bound<'py, PyArray<T, D>>);

impl<'py, T: Element, D: Dimension> FromPyObject<'_, 'py> for Array<'py, T, D> {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(array) = given.cast::<PyArray<T, D>>() {
            return Ok(Self(array.to_owned()));
        }
        let expected = dtype::<T>(given.py());
        let dimensions = D::NDIM.unwrap_or(0);
        let found = match given.cast::<PyUntypedArray>() {
            Ok(array) => format!("one of {} with {} dimensions", array.dtype(), array.ndim()),
            Err(_) => given.get_type().name()?.to_string(),
        };
        Err(PyTypeError::new_err(format!(
            "must be an array of {expected} with {dimensions} dimensions, is {found}"
        )))
    }
}

/// An array that Python handed over; no values where it said None.
pub(crate) struct Column<T, D>(Option<Py<PyArray<T, D>>>);

/// The values of a [`Column`], for as long as they are looked at.
pub(crate) struct View<'py, T: Element, D: Dimension>(Option<PyReadonlyArray<'py, T, D>>);

impl<T: Element + Copy, D: Dimension> Column<T, D> {
    pub(crate) fn new(Array(array): Array<'_, T, D>) -> PyResult<Self> {
        let kept = if array.is_c_contiguous() && array.is_aligned() {
            array
        } else {
            array.call_method0("copy")?.cast_into()?
        };
        Ok(Self(Some(kept.unbind())))
    }

    pub(crate) fn optional(array: Option<Array<'_, T, D>>) -> PyResult<Self> {
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
