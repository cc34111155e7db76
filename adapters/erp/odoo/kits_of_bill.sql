with recursive up(product) as (
  select p.id from mrp_bom b join product_product p on p.product_tmpl_id = b.product_tmpl_id where b.id = any($1)
{{>above.sql}}