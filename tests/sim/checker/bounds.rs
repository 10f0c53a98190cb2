//! I.39 to I.41 and the bounds of G.5.
