"""Files that stations fetch and bring: firmware and logs."""
