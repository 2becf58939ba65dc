"""Problems with exact verifiers."""
