"""What is handed from the compiler to whatever prints, compiles, shares or exports it."""
