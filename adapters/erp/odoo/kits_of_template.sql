with recursive up(product) as (
  select id from product_product where product_tmpl_id = any($1)
{{>above.sql}}